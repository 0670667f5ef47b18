"""Ollama's formats and its server: names, Modelfiles, templates, the store on disk, and where a published model is asked."""
