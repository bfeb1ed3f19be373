// A program with broker-client that says which events it sees, and what becomes of its connection, while the server is restarted.
import { createClient } from 'broker-client';

const client = createClient({ url: process.argv[2] });
await client.signIn({ username: 'alice', password: 'pw-secret-alice' });
let last;
client.connection.subscribe(() => {
  const { state } = client.connection.get();
  if (state !== last) console.log(`is ${(last = state)}`);
});
client.on('news/*', ({ event }) => console.log(event));
