"""What a paper on pruning needs: lottery tickets, sanity checks."""
