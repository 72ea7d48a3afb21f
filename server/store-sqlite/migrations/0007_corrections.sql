-- The replica in whose journal the charge of a batch is corrected: one, so that the correction stands in one audit record.
ALTER TABLE batch ADD COLUMN corrected_by text;
