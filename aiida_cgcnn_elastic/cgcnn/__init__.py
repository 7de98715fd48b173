"""Crystal graph convolutional networks: graphs, network, training and inference on arrays."""
