"""The device-server collaboration: a server selects devices, they answer, it merges, each revises.

Runs at once with scripted agents in this process; ``--ray`` starts the same home as a Ray cluster. For real models,
write ``model="aiflow:nano/math"``, a Hugging Face id, or ``"http://host/v1#name"`` instead.
"""

import sys
from pathlib import Path

import aiflow

HOME = Path(__file__).with_name("home.yaml")


def main(local: bool) -> None:
    with aiflow.connect(HOME, local=local) as cluster:
        math = cluster.agent("math", node="phone", model="scripted:12 * 7 = 84", about="arithmetic")
        code = cluster.agent("code", node="laptop", model="scripted:print(12 * 7) gives 84", about="small programs")
        verse = cluster.agent("verse", node="tablet", model="scripted:Twelve sevens rhyme", about="poems")
        hub = cluster.agent(
            "hub", node="cloud", model="scripted:", answers=["math, code", "84, by hand and by program."]
        )

        graph = aiflow.device_server(hub, [math, code, verse], select=2, deadline=5.0)
        state = graph.invoke({"messages": [("user", "What is 12 times 7?")]})

    print("selected:", *state["selected"])
    print("merged:", state["messages"][-1].content)
    for step in state["trace"]:
        print(f"  {step['step']:7} {step['agent']:5} on {step['node']:7} {sum(step['bytes'].values()):5} B")


if __name__ == "__main__":
    main(local="--ray" not in sys.argv)
