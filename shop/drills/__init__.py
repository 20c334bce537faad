"""Drills: what can go wrong between the two sides, done on purpose on the live shop, told step by step, and put back."""
