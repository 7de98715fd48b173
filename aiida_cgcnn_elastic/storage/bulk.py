"""Write many nodes, their links and their group memberships in one transaction."""
