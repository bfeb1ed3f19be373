import { Board } from './board';

export const dynamic = 'force-dynamic';

export default async function Page() {
  const url = process.env.BROKER_URL;
  const response = await fetch(`${url}/events`, { headers: { authorization: `Bearer ${process.env.BROKER_TOKEN}` } });
  return <Board url={url} initialEvents={await response.json()} />;
}
