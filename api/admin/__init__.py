"""Base classes, the roles table, form fields and exports that the admin pages of every app share."""
