"""Everything mode over folders: annotations as in SA-1B for every photo, on this machine or on many."""
