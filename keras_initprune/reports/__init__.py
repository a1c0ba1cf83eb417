"""How sparse a model is, and what it is made of, as tables of its weights."""
