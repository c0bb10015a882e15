-- Placeholder until its part is written.
SELECT 1;
