import { createClient } from 'broker-client';
import { createCache, createOutbox } from 'broker-client/outbox';
import { BrokerProvider, useAll, useConnection, useInsert, useOutbox, usePresence, useSession } from 'broker-client/react';
import { useState } from 'react';

type Events = { [name: `todo/${string}`]: { title: string; done: boolean }; [name: `typing/${string}`]: true };
declare module 'broker-client/react' { interface Register { events: Events } }
const client = createClient<Events>({ url: 'http://localhost:8080', outbox: createOutbox(), cache: createCache() });

function SignIn() {
  const [error, setError] = useState('');
  const enter = (how: typeof client.signIn, form: HTMLFormElement) =>
    how(Object.fromEntries(new FormData(form)) as { username: string; password: string }).catch((error) => setError(error.message));
  return (
    <form className="sign-in" onSubmit={(e) => { e.preventDefault(); enter(client.signIn, e.currentTarget); }}>
      <input name="username" placeholder="Username" autoComplete="username" required />
      <input name="password" type="password" placeholder="Password" autoComplete="current-password" required />
      <button>Sign in</button> <button type="button" onClick={(e) => enter(client.signUp, e.currentTarget.form!)}>Sign up</button>
      <p role="alert">{error}</p>
    </form>
  );
}

function Board() {
  const [todos, typing, online] = [useAll('todo/*'), useAll('typing/*'), usePresence()];
  const [{ user }, { state }, { enqueue, remove, pending, discard }, { insert }] = [useSession(), useConnection(), useOutbox(), useInsert()];
  const add = (form: FormData) => void enqueue(`todo/${Date.now()}-${user}`, { title: `${form.get('title')}`, done: false });
  const type = () => typing.some(({ username }) => username === user) || insert(`typing/${user}`, true, { expiresIn: 4 });
  return <main>
    <header>{state === 'waiting' ? `Offline, ${pending.length || 'nothing'} to be sent` : online.map(({ username }) => <b key={username}>{username}</b>)}</header>
    {todos.map(({ event, data, username, pending }) => (
      <label key={event} className={pending && 'pending'}>
        <input type="checkbox" checked={!!data?.done} onChange={() => enqueue(event, { ...data, done: !data?.done })} />
        <span>{typeof data?.title === 'string' && data.title}</span> <small>{username}</small>
        <button aria-label="Remove" onClick={() => remove(event)}>×</button>
      </label>))}
    <form action={add}><input name="title" placeholder="What is to be done?" onInput={type} required /><button>Add</button></form>
    {pending.map(({ key, error }) => error && <p key={key}>{error.message} <button onClick={() => discard(key)}>Discard</button></p>)}
    <p role="status">{state === 'live' && typing.map(({ username }) => username !== user && `${username} is typing… `)}</p>
    <button onClick={() => (!pending.length || confirm('Discard what is not sent?')) && client.signOut({ discard: true })}>Sign out</button>
  </main>;
}

export default function App() { return <BrokerProvider client={client} signedOut={<SignIn />}><Board /></BrokerProvider>; }
