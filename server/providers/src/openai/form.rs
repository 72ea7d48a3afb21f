//! `multipart/form-data`, as RFC 7578 and the HTML standard write it, while its files come in.

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use tollgate_domain::Error;

use crate::upload::Part;

/// A form: its fields, then what follows of files and fields.
pub(crate) struct Form {
    boundary: String,
    in_file: bool,
}

impl Form {
    pub(crate) fn new() -> Self {
        Self { boundary: format!("tollgate-{}", uuid::Uuid::new_v4().simple()), in_file: false }
    }

    /// Its media type.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// Its bytes.
    pub(crate) fn write(
        mut self,
        fields: &[(String, String)],
        parts: impl Stream<Item = Result<Part, Error>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let mut begin = BytesMut::new();
        for (name, value) in fields {
            self.field(name, value, &mut begin);
        }
        async_stream::stream! {
            yield Ok(begin.freeze());
            for await part in parts.boxed() {
                match part {
                    Ok(Part::Data(bytes)) => yield Ok(bytes),
                    Ok(Part::File(file)) => {
                        let mut out = BytesMut::new();
                        self.end_file(&mut out);
                        let (field, filename) = (escaped(&file.field), escaped(&file.filename));
                        let filename = if filename.is_empty() { &field } else { &filename };
                        let is_type = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
                        let is_known = !file.content_type.is_empty() && file.content_type.bytes().all(is_type);
                        let kind = if is_known { &file.content_type } else { "application/octet-stream" };
                        let head = format!(
                            "--{}\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"{filename}\"\r\n\
                             content-type: {kind}\r\n\r\n",
                            self.boundary
                        );
                        out.put_slice(head.as_bytes());
                        self.in_file = true;
                        yield Ok(out.freeze());
                    }
                    Ok(Part::Field(field)) => {
                        let mut out = BytesMut::new();
                        self.field(&field.name, &field.value, &mut out);
                        yield Ok(out.freeze());
                    }
                    Err(error) => {
                        yield Err(error);
                        return;
                    }
                }
            }
            let mut out = BytesMut::new();
            self.end_file(&mut out);
            out.put_slice(format!("--{}--\r\n", self.boundary).as_bytes());
            yield Ok(out.freeze());
        }
    }

    fn end_file(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.in_file) {
            out.put_slice(b"\r\n");
        }
    }

    fn field(&mut self, name: &str, value: &str, out: &mut BytesMut) {
        self.end_file(out);
        let (boundary, name) = (&self.boundary, escaped(name));
        let field = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        out.put_slice(field.as_bytes());
    }
}

/// As browsers write names: what would end them is percent-encoded.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{UploadField, UploadFile};

    use super::*;

    #[tokio::test]
    async fn names_cannot_break_out_of_a_form() {
        let file = UploadFile {
            field: "file".into(),
            filename: "a\"\r\nx: y.mp3".into(),
            content_type: "audio/mpeg\r\nx: y".into(),
        };
        let late = UploadField { name: "language".into(), value: "de".into() };
        let parts = [Part::File(file), Part::Data("sound".into()), Part::Field(late)];
        let form = Form::new();
        let boundary = form.boundary.clone();
        let fields = [("model".to_owned(), "m".to_owned())];
        let bytes: Vec<Bytes> =
            form.write(&fields, futures::stream::iter(parts.map(Ok))).map(Result::unwrap).collect().await;
        let text = String::from_utf8(bytes.concat()).unwrap().replace(&boundary, "B");
        assert_eq!(
            text,
            "--B\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
             --B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a%22%0D%0Ax: y.mp3\"\r\n\
             content-type: application/octet-stream\r\n\r\nsound\r\n\
             --B\r\ncontent-disposition: form-data; name=\"language\"\r\n\r\nde\r\n--B--\r\n"
        );
    }
}
