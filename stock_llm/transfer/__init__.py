"""What goes to another machine to be trained, and what comes back."""
