"""The command `aiida-cgcnn-elastic`."""
