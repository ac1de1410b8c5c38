"""What is watched: scrape targets, alerts and the two servers' configuration, as data. Pure."""
