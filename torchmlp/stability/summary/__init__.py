"""What a map says: the stability boundary, a table, advice."""
