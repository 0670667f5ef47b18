"""An adapter merged into its base tensor by tensor, and the result computed layer by layer."""
