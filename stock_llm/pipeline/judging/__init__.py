"""Which models are judged, how they are asked, how long that takes, and how fast they are."""
