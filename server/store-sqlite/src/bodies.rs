use async_trait::async_trait;
use prost::Message;
use sqlx::{Row, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tollgate_proto::v1::LegalHold;
use tollgate_store::{
    Bodies, Decided, Doomed, Erased, Erasure, KekOwner, Lead, NAMED_AT_ONCE, Result, StoredBody, StoredHold, StoredKek,
    held_on,
};

use crate::{SqliteStore, failed};

type Tx<'a> = Transaction<'a, Sqlite>;

fn kek(row: &SqliteRow) -> sqlx::Result<StoredKek> {
    let owner =
        KekOwner { tenant: row.try_get("tenant")?, subject: row.try_get("subject")?, month: row.try_get("month")? };
    Ok(StoredKek { id: row.try_get("id")?, owner, wrapped: row.try_get("wrapped")? })
}

fn body(row: &SqliteRow) -> sqlx::Result<StoredBody> {
    Ok(StoredBody {
        replica: row.try_get("replica")?,
        sequence: row.try_get("sequence")?,
        call_id: row.try_get("call_id")?,
        kek_id: row.try_get("kek_id")?,
        sealed: row.try_get::<Option<_>, _>("sealed")?.unwrap_or_default(),
    })
}

fn hold(row: &SqliteRow) -> sqlx::Result<StoredHold> {
    let kind: String = row.try_get("kind")?;
    let on = held_on(&kind, row.try_get("value")?, row.try_get("tenant")?, row.try_get("kek_id")?);
    let on = on.ok_or_else(|| sqlx::Error::Decode(format!("a hold on a {kind:?}").into()))?;
    let hold = LegalHold::decode(row.try_get::<&[u8], _>("hold")?);
    Ok(StoredHold { on, hold: hold.map_err(|error| sqlx::Error::Decode(Box::new(error)))? })
}

/// Whether a hold `h` in force keeps the key `k`.
const KEEPS: &str = "h.is_released = 0 AND (
    (h.kind = 'subject' AND h.value = k.subject AND (h.tenant = '' OR h.tenant = k.tenant))
    OR (h.kind = 'tenant' AND h.value = k.tenant)
    OR (h.kind = 'call' AND h.kek_id = k.id))";

#[async_trait]
impl Bodies for SqliteStore {
    async fn kek_of(&self, owner: &KekOwner) -> Result<Option<StoredKek>> {
        kek_of(&self.readers, owner).await.map_err(failed)
    }

    async fn make_kek(&self, new: &StoredKek) -> Result<StoredKek> {
        let mut connection = self.writer.acquire().await.map_err(failed)?;
        // What is encrypted under it may outlive the power: so must the key.
        sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await.map_err(failed)?;
        let made = sqlx::query(
            "INSERT INTO body_kek (id, tenant, subject, month, wrapped) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (subject, tenant, month) DO NOTHING",
        )
        .bind(&new.id)
        .bind(&new.owner.tenant)
        .bind(&new.owner.subject)
        .bind(new.owner.month)
        .bind(&new.wrapped)
        .execute(&mut *connection)
        .await;
        sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *connection).await.map_err(failed)?;
        drop(connection);
        made.map_err(failed)?;
        let stands = kek_of(&self.writer, &new.owner).await.map_err(failed)?;
        stands.ok_or_else(|| tollgate_store::StoreError::Unavailable("the key was destroyed as it was made".into()))
    }

    async fn kek(&self, id: &str) -> Result<Option<StoredKek>> {
        let found = sqlx::query("SELECT * FROM body_kek WHERE id = ?1").bind(id).fetch_optional(&self.readers).await;
        found.map_err(failed)?.as_ref().map(kek).transpose().map_err(failed)
    }

    async fn body(&self, call_id: &str) -> Result<Option<StoredBody>> {
        let found = "SELECT * FROM audit_body WHERE call_id = ?1 LIMIT 1";
        let found = sqlx::query(found).bind(call_id).fetch_optional(&self.readers).await;
        found.map_err(failed)?.as_ref().map(body).transpose().map_err(failed)
    }

    async fn decide_erasure(&self, doomed: &Doomed, decided: Decided<'_>) -> Result<Erased> {
        // The one writer: nobody makes a hold meanwhile.
        let mut tx = self.writer.begin().await.map_err(failed)?;
        let erased = foresee(&mut tx, doomed).await.map_err(failed)?;
        if erased.held_by.is_none() {
            decided(&erased);
        }
        Ok(erased)
    }

    async fn lead_expiry(&self) -> Result<Option<Lead>> {
        // There is no other replica.
        Ok(Some(Box::new(())))
    }

    async fn put_hold(&self, hold: &StoredHold) -> Result<()> {
        let (kind, value, tenant, kek_id) = hold.on.columns();
        let put = sqlx::query(
            "INSERT INTO body_hold (id, kind, value, tenant, kek_id, is_released, hold) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (id) DO UPDATE SET is_released = excluded.is_released, hold = excluded.hold",
        )
        .bind(&hold.hold.id)
        .bind(kind)
        .bind(value)
        .bind(tenant)
        .bind(kek_id)
        .bind(hold.hold.release_time.is_some())
        .bind(hold.hold.encode_to_vec());
        put.execute(&self.writer).await.map(drop).map_err(failed)
    }

    async fn hold(&self, id: &str) -> Result<Option<StoredHold>> {
        let found = sqlx::query("SELECT * FROM body_hold WHERE id = ?1").bind(id).fetch_optional(&self.readers).await;
        found.map_err(failed)?.as_ref().map(hold).transpose().map_err(failed)
    }

    async fn holds(&self, with_released: bool, after: &str, limit: i64) -> Result<Vec<StoredHold>> {
        let listed = "SELECT * FROM body_hold WHERE id > ?1 AND (?2 OR is_released = 0) ORDER BY id LIMIT ?3";
        let listed = sqlx::query(listed).bind(after).bind(with_released).bind(limit).fetch_all(&self.readers).await;
        listed.map_err(failed)?.iter().map(hold).collect::<sqlx::Result<_>>().map_err(failed)
    }
}

/// What was overwritten is out of the write-ahead log too, as far as nobody is reading.
pub(crate) async fn wipe(writer: &SqlitePool) -> sqlx::Result<()> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer).await.map(drop)
}

async fn kek_of(pool: &SqlitePool, owner: &KekOwner) -> sqlx::Result<Option<StoredKek>> {
    let found = sqlx::query("SELECT * FROM body_kek WHERE subject = ?1 AND tenant = ?2 AND month = ?3")
        .bind(&owner.subject)
        .bind(&owner.tenant)
        .bind(owner.month)
        .fetch_optional(pool)
        .await?;
    found.as_ref().map(kek).transpose()
}

/// The hold that forbids an erasure as a whole.
async fn hold_on(tx: &mut Tx<'_>, doomed: &Doomed) -> sqlx::Result<Option<String>> {
    let (on, value, tenant) = match doomed {
        // Of holds on calls only those on this one.
        Doomed::Call(call_id) => (
            "FROM body_hold AS h JOIN audit_body AS b ON b.call_id = ?1 JOIN body_kek AS k ON k.id = b.kek_id
             WHERE (h.kind <> 'call' OR h.value = ?1) AND ?2 = ''",
            call_id.as_str(),
            "",
        ),
        Doomed::Subject { subject, tenant } => (
            "FROM body_hold AS h JOIN body_kek AS k WHERE k.subject = ?1 AND (?2 = '' OR k.tenant = ?2)",
            subject.as_str(),
            tenant.as_str(),
        ),
        // What is held stays, and the rest goes.
        Doomed::Before(_) => return Ok(None),
    };
    let held = format!("SELECT h.id {on} AND {KEEPS} ORDER BY h.id LIMIT 1");
    let held = sqlx::query_scalar(sqlx::AssertSqlSafe(held)).bind(value).bind(tenant);
    held.fetch_optional(&mut **tx).await
}

/// What is to be erased, or the hold that forbids it.
async fn foresee(tx: &mut Tx<'_>, doomed: &Doomed) -> sqlx::Result<Erased> {
    let held_by = hold_on(tx, doomed).await?;
    if held_by.is_some() {
        return Ok(Erased { held_by, ..Erased::default() });
    }
    let kek_ids: Vec<String> = match doomed {
        Doomed::Call(_) => Vec::new(),
        Doomed::Subject { subject, tenant } => {
            let keks = "SELECT id FROM body_kek WHERE subject = ?1 AND (?2 = '' OR tenant = ?2)";
            sqlx::query_scalar(keks).bind(subject).bind(tenant).fetch_all(&mut **tx).await?
        }
        Doomed::Before(month) => {
            let keks = format!(
                "SELECT id FROM body_kek AS k WHERE month < ?1 AND NOT EXISTS (SELECT 1 FROM body_hold AS h WHERE {KEEPS})
                 ORDER BY month, id LIMIT {NAMED_AT_ONCE}"
            );
            sqlx::query_scalar(sqlx::AssertSqlSafe(keks)).bind(month).fetch_all(&mut **tx).await?
        }
    };
    let mut bodies: i64 = match doomed {
        Doomed::Call(call_id) => {
            let kept = "SELECT count(*) FROM audit_body WHERE call_id = ?1 AND sealed IS NOT NULL";
            sqlx::query_scalar(kept).bind(call_id).fetch_one(&mut **tx).await?
        }
        _ => 0,
    };
    for kek_id in &kek_ids {
        let kept = "SELECT count(*) FROM audit_body WHERE kek_id = ?1 AND sealed IS NOT NULL";
        bodies += sqlx::query_scalar::<_, i64>(kept).bind(kek_id).fetch_one(&mut **tx).await?;
    }
    Ok(Erased { kek_ids, bodies: bodies.unsigned_abs(), held_by: None })
}

/// Erases what was decided on.
pub(crate) async fn erase(tx: &mut Tx<'_>, erasures: &[&Erasure]) -> sqlx::Result<()> {
    for erasure in erasures {
        for kek_id in &erasure.kek_ids {
            sqlx::query("DELETE FROM body_kek WHERE id = ?1").bind(kek_id).execute(&mut **tx).await?;
            let gone = "UPDATE audit_body SET sealed = NULL WHERE kek_id = ?1 AND sealed IS NOT NULL";
            sqlx::query(gone).bind(kek_id).execute(&mut **tx).await?;
        }
        let gone = "UPDATE audit_body SET sealed = NULL WHERE call_id = ?1 AND sealed IS NOT NULL";
        sqlx::query(gone).bind(&erasure.call_id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Keeps bodies that are not known yet; of those whose key is gone only that they were.
pub(crate) async fn append(tx: &mut Tx<'_>, bodies: &[&StoredBody]) -> sqlx::Result<()> {
    for body in bodies {
        sqlx::query(
            "INSERT INTO audit_body (replica, sequence, call_id, kek_id, sealed)
             VALUES (?1, ?2, ?3, ?4, CASE WHEN EXISTS (SELECT 1 FROM body_kek WHERE id = ?4) THEN ?5 END)
             ON CONFLICT (replica, sequence) DO NOTHING",
        )
        .bind(&body.replica)
        .bind(body.sequence)
        .bind(&body.call_id)
        .bind(&body.kek_id)
        .bind(&body.sealed)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
