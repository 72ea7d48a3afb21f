-- Whoever follows waits for those who write before it looks, and needs no row's transaction.
ALTER TABLE ledger_entry DROP COLUMN xid;
ALTER TABLE budget_alert DROP COLUMN xid;
