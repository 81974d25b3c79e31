"""From clean footage to low quality, for training and for fixed test sets."""
