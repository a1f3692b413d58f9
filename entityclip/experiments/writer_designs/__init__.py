"""Designs of writers compared: prompts, models and settings, each in a YAML file, on the same sample of entities.

``designs`` opens them and has them write through the ledger; ``recall`` measures their texts with a model;
``comparison`` has figures with paired intervals and agreement; ``comparison_page`` puts them on a page, with what the
settings differ in (``differing_settings``) and texts side by side (``comparison_examples``).
"""
