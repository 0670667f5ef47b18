"""Writes a base model as a GGUF file, and loads its tokenizer as llama.cpp will use it."""
