'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const { COUNT, PATIENCE, WORDS, clock, hrtime } = require('../lib/shared.js');
const { Watch } = require('../lib/watch.js');

/** A server that answers INFO as `says` tells, or not at all while `mute`. */
async function serve(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'hwe-'));
  const file = path.join(directory, 'entropy.sock');
  const served = {
    file, status: 0, says: { generation: 1, state: 'ok' }, mute: false, unmute: null,
  };
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => sockets.delete(socket));
    socket.on('data', (data) => {
      const reply = () => {
        const { says } = served;
        const known = { protocol: [1], version: '9.9', limits: { max_read: 1 << 20 } };
        const info = says === Object(says) ? { ...known, ...says } : says;
        const payload = Buffer.from(JSON.stringify(info));
        const header = [served.status, 0, data[2], data[3], 0, 0, 0];
        if (served.status) socket.write(Buffer.from([...header, 0]));
        else socket.write(Buffer.concat([Buffer.from([...header, payload.length]), payload]));
      };
      if (served.mute) served.unmute = reply;
      else reply();
    });
  });
  served.hangUp = () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  await new Promise((resolve) => server.listen(file, resolve));
  t.after(async () => {
    served.hangUp();
    await new Promise((resolve) => server.close(resolve));
    fs.rmSync(directory, { recursive: true });
  });
  const words = new Int32Array(new SharedArrayBuffer(COUNT * 4));
  served.watch = new Watch(file, words, clock(hrtime()));
  served.word = (name) => Atomics.load(words, WORDS[name]);
  return served;
}

test('the epoch moves with the generation and with failing closed, and else not', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  const first = served.word('EPOCH');
  await served.watch.check();
  served.says = { generation: 1, state: 'degraded' };
  await served.watch.check();
  assert.equal(served.word('EPOCH'), first);
  served.says = { generation: 1, state: 'failed' };
  await served.watch.check();
  assert.equal(served.word('EPOCH'), first + 1);
  served.says = { generation: 2, state: 'ok' };
  await served.watch.check();
  assert.equal(served.word('EPOCH'), first + 2);
});

test('a degraded daemon is known as such until it says something else', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  assert.equal(served.word('DEGRADED'), 0);
  served.says = { generation: 1, state: 'degraded' };
  await served.watch.check();
  assert.equal(served.word('DEGRADED'), 1);
  served.says = 7;
  await assert.rejects(served.watch.check(), { name: 'ProtocolError' });
  assert.equal(served.word('DEGRADED'), 1);
  served.says = { generation: 2, state: 'ok' };
  await served.watch.check();
  assert.equal(served.word('DEGRADED'), 0);
});

test('another connection is another epoch, although the generation is the same', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  const first = served.word('EPOCH');
  served.hangUp();
  await served.watch.check();
  assert.equal(served.word('EPOCH'), first + 1);
});

test('a machine that slept has outdated leases', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  const first = served.word('EPOCH');
  const awake = os.uptime;
  t.after(() => {
    os.uptime = awake;
  });
  os.uptime = () => awake() + 3600;
  await served.watch.check();
  assert.equal(served.word('EPOCH'), first + 1);
  await served.watch.check();
  assert.equal(served.word('EPOCH'), first + 1);
});

test('an answer that cannot be read outdates every lease and is reported', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  for (const says of [
    7, null, {}, { generation: -1, state: 'ok' }, { generation: 2 ** 60, state: 'ok' },
    { generation: '1', state: 'ok' }, { generation: 1, state: 'fine' },
  ]) {
    const before = served.word('EPOCH');
    served.says = says;
    await assert.rejects(served.watch.check(), { name: 'ProtocolError' });
    assert.ok(served.word('EPOCH') > before);
  }
});

test('a user who is no longer served learns so: leases are not good unchecked', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  for (const [status, name] of [[3, 'NotPermitted'], [4, 'OverQuota'], [5, 'FailedClosed']]) {
    const before = served.word('EPOCH');
    served.status = status;
    await assert.rejects(served.watch.check(), { name });
    assert.ok(served.word('EPOCH') > before);
  }
});

test('a daemon that does not answer is waited for once, and heard when it does', async (t) => {
  const served = await serve(t);
  await served.watch.check();
  const first = served.word('EPOCH');
  served.mute = true;
  const began = performance.now();
  await served.watch.check();
  assert.ok(performance.now() - began >= PATIENCE - 1);
  for (let i = 0; i < 1000; i++) await served.watch.check(); // else 250 s
  assert.equal(served.word('EPOCH'), first);
  served.says = { generation: 5, state: 'ok' };
  served.mute = false;
  served.unmute();
  await served.watch.answer();
  assert.equal(served.word('EPOCH'), first + 1);
});

test('nobody there is no error: the lease has limits of its own', async () => {
  const words = new Int32Array(new SharedArrayBuffer(COUNT * 4));
  const watch = new Watch('/nowhere/entropy.sock', words, clock(hrtime()));
  await watch.check();
  assert.equal(Atomics.load(words, WORDS.EPOCH), 0);
  assert.equal(watch.info, null);
});
