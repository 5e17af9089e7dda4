"""A simulated club: members, M-Pesa and staff act for months of simulated time on the product's real services."""
