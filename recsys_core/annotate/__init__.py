"""What texts say beside their topic: the names in them, how good or bad they sound, and the interests they belong to; zh and en alike."""
