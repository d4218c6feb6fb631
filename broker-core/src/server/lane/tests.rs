/// A door for tests alone: bytes that hold this make the shard panic, as a defect would.
pub(crate) const PANIC: &[u8] = b"$test/panic";

pub(crate) fn panic_if_asked(bytes: &[u8]) {
    assert!(!bytes.windows(PANIC.len()).any(|window| window == PANIC), "asked to panic");
}
