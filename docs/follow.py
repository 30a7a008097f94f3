"""follow.py URL TOKEN TARGET: what one node's agent tells of a target, an event a line. Needs websockets (PyPI), see protocol.md."""
import asyncio
import json
import sys

import websockets


async def follow(url, token, target):
    async with websockets.connect(url, subprotocols=["ktrace.v1"], max_size=16 << 20, compression=None) as agent:
        await agent.send(json.dumps({"type": "auth", "token": token}))
        await agent.send(json.dumps({"type": "subscribe", "targets": [target]}))
        await agent.send(json.dumps({"type": "credit", "events": 100}))
        async for frame in agent:
            message = json.loads(frame)
            if message["type"] in ("error", "bye"):
                sys.exit(f"{message.get('message') or message['reason']} [{message.get('code', 'bye')}]")
            if message["type"] == "events":
                for event in message["events"]:
                    print(json.dumps(event), flush=True)
                await agent.send(json.dumps({"type": "credit", "events": len(message["events"]), "ack": message["seq"]}))


asyncio.run(follow(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
