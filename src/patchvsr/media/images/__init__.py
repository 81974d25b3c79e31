"""Image sequences and single images: PNG and OpenEXR."""
