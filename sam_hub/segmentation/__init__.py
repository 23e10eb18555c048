"""Objects that a person points at, in photos: prompts as they are typed, masks, and the files they become."""
