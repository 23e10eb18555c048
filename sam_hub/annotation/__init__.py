"""Everything mode over folders: SA-1B annotations for every photo, on one machine or many."""
