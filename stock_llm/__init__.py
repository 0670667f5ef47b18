"""The nouns that stages, gateway and command line share. Nothing here knows Prefect."""
