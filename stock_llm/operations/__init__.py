"""The loop above a single run: when to retrain, how everything is, how versions compare."""
