// What Node lacks of a browser, for the transports: made of `node:http` and `ws`.

import { request, type ClientRequest } from 'node:http';
import { WebSocket } from 'ws';
import { createParser } from '../src/parser.js';

/** XMLHttpRequest as React Native has it: the text comes in parts to those that listen to progress. */
export class NodeXhr {
  readyState = 0;
  status = 0;
  responseText = '';
  responseType = '';
  response = '';
  responseURL = '';
  statusText = '';
  timeout = 0;
  withCredentials = false;
  upload = {};
  onprogress?: () => void;
  onreadystatechange?: () => void;
  onload?: () => void;
  onerror?: () => void;
  ontimeout?: () => void;
  onabort?: () => void;
  onloadend?: () => void;
  /** How many were made, for tests that ask. */
  static made = 0;
  #url = '';
  #method = 'GET';
  #headers: Record<string, string> = {};
  #answer: Record<string, any> = {};
  #request?: ClientRequest;
  #isOver = false;

  constructor() {
    NodeXhr.made++;
  }

  open(method: string, url: string) {
    [this.#method, this.#url] = [method, url];
    this.#state(1);
  }

  setRequestHeader(name: string, value: string) {
    this.#headers[name] = value;
  }

  getResponseHeader(name: string): string | null {
    return this.#answer[name.toLowerCase()] ?? null;
  }

  getAllResponseHeaders(): string {
    return Object.entries(this.#answer)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
  }

  send(body?: string | null) {
    this.#request = request(this.#url, { method: this.#method, headers: this.#headers }, (answer) => {
      this.#answer = answer.headers;
      this.status = answer.statusCode!;
      this.#state(2);
      answer.setEncoding('utf8');
      answer.on('data', (part) => {
        if (this.#isOver) return;
        this.responseText += part;
        this.response = this.responseText;
        if (this.readyState < 3) this.#state(3);
        this.onprogress?.();
      });
      answer.on('end', () => this.#end());
      answer.on('error', () => this.#fail());
    });
    this.#request.on('error', () => this.#fail());
    this.#request.end(body ?? undefined);
  }

  abort() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#request?.destroy();
    this.onabort?.();
  }

  #state(state: number) {
    this.readyState = state;
    this.onreadystatechange?.();
  }

  #end() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#state(4);
    this.onload?.();
    this.onloadend?.();
  }

  #fail() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.status = 0;
    this.#state(4);
    this.onerror?.();
    this.onloadend?.();
  }
}

/** Makes these globals for as long as the function that it gives is not called. */
export function withGlobals(globals: Record<string, unknown>): () => void {
  const before = Object.keys(globals).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  return () => {
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete (globalThis as any)[name];
    }
  };
}

/** EventSource, but for reconnecting by itself. Messages that have a name are not handed on, as nobody listens to one. */
export class NodeEventSource {
  onmessage?: (event: { data: string }) => void;
  onerror?: () => void;
  #xhr = new NodeXhr();

  constructor(url: string) {
    const xhr = this.#xhr;
    const parse = createParser((name, data) => name === 'message' && this.onmessage?.({ data }));
    let at = 0;
    xhr.open('GET', url);
    xhr.onprogress = () => {
      const text = xhr.responseText.slice(at);
      at = xhr.responseText.length;
      if (xhr.status === 200) parse(text);
    };
    xhr.onload = xhr.onerror = () => this.onerror?.();
    xhr.send();
  }

  close() {
    this.#xhr.abort();
  }
}

export const ALL_TRANSPORTS = { XMLHttpRequest: NodeXhr, WebSocket, EventSource: NodeEventSource };
