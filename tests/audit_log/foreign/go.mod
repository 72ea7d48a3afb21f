module tollgate.dev/tests/audit_log/foreign

go 1.26

require golang.org/x/mod v0.30.0
