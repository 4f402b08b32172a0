//! Writes files as `torch.save` does, for tests.

use std::io::Write;

use zip::write::SimpleFileOptions;

/// A pickle under construction, protocol 2.
pub(super) struct Pickle(Vec<u8>);

impl Pickle {
    pub(super) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        let length = (text.len() as u32).to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }

    pub(super) fn int(self, value: usize) -> Self {
        self.raw(b"J").raw(&(value as i32).to_le_bytes())
    }

    fn ints(self, values: &[usize]) -> Self {
        values.iter().fold(self.raw(b"("), |pickle, value| pickle.int(*value)).raw(b"t")
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())`.
    pub(super) fn tensor(
        self,
        storage: &str,
        key: &str,
        stored: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Self {
        let pickle =
            self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage").raw(b"ctorch\n").raw(storage.as_bytes());
        let pickle =
            pickle.raw(b"\n").text(key).text("cpu").int(stored).raw(b"tQ").int(offset).ints(shape).ints(strides);
        pickle.raw(b"\x89ccollections\nOrderedDict\n)Rtq\x01R")
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// The archive: a pickle, and storages by key.
pub(super) fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let storages = storages.iter().map(|(key, data)| (format!("weights/data/{key}"), *data));
    let files = [("weights/data.pkl".to_owned(), pickle), ("weights/byteorder".to_owned(), b"little".as_slice())];
    for (name, data) in files.into_iter().chain(storages) {
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(name, stored).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
