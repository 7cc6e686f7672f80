"""FaceInsight: face question answering where the camera is."""
