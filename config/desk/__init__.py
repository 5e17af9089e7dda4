"""The front desk: the admin's pages for receptionists and managers, and the forms that call services for them."""
