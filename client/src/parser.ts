// The format of event streams: "Server-sent events" of the HTML standard, section 9.2.6.

/** Gives a function that takes the text of a stream in pieces of any size. */
export function createParser(on: (event: string, data: string, id: string) => void): (chunk: string) => void {
  let rest = '';
  let isStart = true;
  let afterCr = false;
  let event = '';
  let data = '';
  let id = '';
  return (chunk) => {
    if (!chunk) return;
    if (isStart && chunk[0] === '\uFEFF') chunk = chunk.slice(1);
    isStart = false;
    // The line feed of a CR LF that was split between two pieces.
    if (afterCr && chunk[0] === '\n') chunk = chunk.slice(1);
    afterCr = chunk.endsWith('\r');
    // What has come of an unfinished line is not read again.
    const lines = chunk.split(/\r\n|\n|\r/);
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    for (const line of lines) {
      if (!line) {
        if (data) on(event || 'message', data.slice(0, -1), id);
        event = data = '';
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
      if (field === 'event') event = value;
      else if (field === 'data') data += value + '\n';
      else if (field === 'id' && !value.includes('\0')) id = value;
    }
  };
}
