"""The model: towers, multimodal attentive experts, losses (EntityCLIP, arXiv 2410.17810)."""
