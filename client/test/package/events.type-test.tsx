// Compiled against the packed package: every line that must not compile says so.
import BrokerClient, { type Change, ConflictError, createClient, type Item } from 'broker-client';
import Compat from 'broker-client/compat';
import { createOutbox } from 'broker-client/outbox';
import { BrokerProvider, useAll, useHistory, useInsert, useLatest, useOutbox, useSuspenseAll } from 'broker-client/react';

interface Todo {
  title: string;
  done?: boolean;
}
interface Events {
  title: string;
  [name: `todo/${string}`]: Todo;
  [name: `typing/${string}`]: true;
}
declare module 'broker-client/react' {
  interface Register {
    events: Events;
  }
}

/** Compiles if both types are the same. */
function same<A, B>(..._: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]): void {}

const client = createClient<Events>({ url: 'http://localhost:8080', outbox: createOutbox() });

const todo = client.latest('todo/1').get();
same<typeof todo, Item<Todo, 'todo/1'> | undefined>();
const title = client.latest('title').get();
same<typeof title, Item<string, 'title'> | undefined>();
const todos = client.all('todo/*').get();
same<typeof todos, readonly Item<Todo, `todo/${string}`>[]>();
const everything = client.all('*').get()[0]?.data;
same<typeof everything, string | Todo | true | undefined>();
client.on('todo/*', (change) => same<typeof change, Change<Todo, `todo/${string}`>>());
void client.insert('todo/1', { title: 'milk' });
void client.insert(todos[0]!.event, { title: 'milk' });
void client.update('todo/1', (data) => ({ title: '', ...data, done: true }), { expiresIn: 5 });
void (async () => {
  for await (const { data } of client.history('todo/1', { pageSize: 10 })) same<typeof data, Todo>();
})();
void client.insertAll([{ event: 'title', data: 'Shopping' }, { event: 'todo/1', data: { title: 'milk' }, expiresIn: 5 }]);
void client.outbox?.enqueue('todo/1', { title: 'milk' }, { expiresIn: 5 });
// @ts-expect-error: there is no such name
void client.insertAll([{ event: 'tilte', data: 'Shopping' }]);
// @ts-expect-error: a title is a string, though a todo is none
void client.insertAll([{ event: 'title', data: { title: 'milk' } }]);
// @ts-expect-error: there is no such name
void client.outbox?.enqueue('tilte', 'Shopping');
// @ts-expect-error: a title is a string
void client.outbox?.enqueue('title', 1);
// @ts-expect-error: there is no such name
void client.outbox?.remove('tilte');
// @ts-expect-error: what waits has no connection
void client.outbox?.enqueue('title', 'Shopping', { whileConnected: true });
// @ts-expect-error: there is no such name
client.latest('tilte');
// @ts-expect-error: a title is a string
void client.insert('title', 1);
// @ts-expect-error: a todo has a title
void client.insert('todo/1', { done: true });
// @ts-expect-error: a name is no filter
void client.insert('todo/*1'.slice(1), { title: '' });
// @ts-expect-error: the data may be missing
client.latest('title').get().data;
// @ts-expect-error: items are not changed in place
todos[0]!.data = { title: '' };

const anything = createClient({ url: 'http://localhost:8080' });
same<NonNullable<ReturnType<ReturnType<typeof anything.latest>['get']>>['data'], any>();
void anything.insert('whatever', { x: 1 });
void anything.insertAll([{ event: 'whatever', data: { x: 1 } }]);
void anything.outbox?.enqueue('whatever', { x: 1 });

export function Hooks() {
  const [one, all, { items }, later] = [useLatest('title'), useAll('todo/*'), useHistory('todo/1'), useSuspenseAll('typing/*')];
  same<typeof one, Item<string, 'title'> | undefined>();
  same<typeof all, readonly Item<Todo, `todo/${string}`>[]>();
  same<(typeof items)[number]['data'], Todo>();
  same<(typeof later)[number]['data'], true>();
  const { insert, insertAll, error } = useInsert();
  same<NonNullable<typeof error>['code'], string>();
  void insert(all[0]!.event, { title: '' });
  void useOutbox().enqueue('todo/1', { title: '' });
  // @ts-expect-error: a title is a string
  void useOutbox().enqueue('title', 1);
  // @ts-expect-error: there is no such name
  void insertAll([{ event: 'tilte', data: '' }]);
  // @ts-expect-error: a title is a string
  void insert('title', 1);
  // @ts-expect-error: there is no such name
  useLatest('tilte');
  return (
    <BrokerProvider client={client} signedOut={<p />}>
      {one?.data}
    </BrokerProvider>
  );
}

try {
  await client.remove('title', { ifMatch: '' });
} catch (error) {
  if (error instanceof ConflictError) same<typeof error.current, Change | null>();
}

const old: BrokerClient = new Compat('http://localhost:8080/sse', { headers: { authorization: '' }, reconnect: true });
old.addEventListener('title', (event) => same<typeof event.data, string>());
same<typeof BrokerClient, typeof Compat>();
// @ts-expect-error: a listener is a function
old.addEventListener('title', {});
