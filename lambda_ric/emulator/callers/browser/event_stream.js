// Reads application/vnd.amazon.eventstream, in which Lambda's API sends a streamed response; the checksums are left to TCP.

export async function readStream(body, onText) {
  const result = { text: "", chunks: 0, first: 0, error: null };
  const decoder = new TextDecoder();
  let rest = new Uint8Array();
  for (let reader = body.getReader(), piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const joined = new Uint8Array(rest.length + piece.value.length);
    joined.set(rest);
    joined.set(piece.value, rest.length);
    rest = joined;
    while (rest.length >= 12) {
      const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
      const length = view.getUint32(0);
      if (length < 16) throw new Error("not an event stream");
      if (rest.length < length) break;
      const headers = headersOf(rest.subarray(12, 12 + view.getUint32(4)));
      const payload = rest.subarray(12 + view.getUint32(4), length - 4);
      if (headers[":event-type"] === "PayloadChunk") {
        result.chunks += 1;
        result.first ||= performance.now();
        result.text += decoder.decode(payload, { stream: true });
        onText(result.text);
      } else if (headers[":event-type"] === "InvokeComplete") {
        const complete = JSON.parse(new TextDecoder().decode(payload) || "{}");
        if (complete.ErrorCode) {
          result.error = complete.ErrorCode;
          result.text += `${result.text ? "\n\n" : ""}${complete.ErrorDetails ?? ""}`;
        }
      } else if (headers[":exception-type"]) result.error = headers[":exception-type"];
      rest = rest.subarray(length);
    }
  }
  return result;
}

function headersOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = (from, length) => new TextDecoder().decode(bytes.subarray(from, from + length));
  const headers = {};
  for (let at = 0; at < bytes.length;) {
    const name = text(at + 1, bytes[at]);
    at += 1 + bytes[at];
    if (bytes[at] !== 7) throw new Error(`a header of type ${bytes[at]}`);
    const length = view.getUint16(at + 1);
    headers[name] = text(at + 3, length);
    at += 3 + length;
  }
  return headers;
}
