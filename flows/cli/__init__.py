"""Commands of ``flows`` that join the ``entityclip`` program by entry points."""
