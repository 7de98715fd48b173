"""The executable `cgcnn-elastic`: files in, files out."""
