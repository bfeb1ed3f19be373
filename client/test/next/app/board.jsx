'use client';
import { createClient } from 'broker-client';
import { BrokerProvider, useAll, useClient, useSession } from 'broker-client/react';
import { useState } from 'react';

export function Board({ url, initialEvents }) {
  const [client] = useState(() => createClient({ url, initialEvents }));
  return <BrokerProvider client={client}><List /></BrokerProvider>;
}

function List() {
  const client = useClient();
  const { status } = useSession();
  const todos = useAll('todo/*');
  return (
    <form action={(form) => client.signIn(Object.fromEntries(form))}>
      <p>{`${status}: ${todos.map(({ data }) => data)}`}</p>
      <input name="username" /> <input name="password" type="password" /> <button>Sign in</button>
    </form>
  );
}
