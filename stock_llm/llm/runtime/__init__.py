"""llama.cpp as the models of this project use it: weights, devices, several rows at once."""
