"""
The airport desk: one small workflow and one of several steps, over real files.

python examples/airport_desk/app.py examples/airport_desk/data/seattle-weather.csv
"""

from __future__ import annotations

import csv
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import anyio
import attrs
import msgspec

import nexus
from nexus import Problem, Run, Workflow

app = nexus.create_nexus(title="Airport desk", version="1.0.0", files_root="data")

WETTEST_EVER = 1825.0  # mm in 24 hours: Foc-Foc, La Réunion, January 1966 (World Meteorological Organization)
AT_ONCE = 500


@attrs.frozen
class Summary:
    """What a weather file says."""

    rows: int
    wettest: str
    millimetres: float


@app.workflow(read_only=True)
async def process_data(file: Path, limit: int = 100_000, *, run: Run) -> Summary:
    """
    Summarise a weather file.

    Args:
        file: CSV file with a header row.
        limit: Read at most this many rows.
    """
    days = await anyio.to_thread.run_sync(read_days, file, limit)
    suspicious = {date: fallen for date, fallen in days.items() if not 0 <= fallen <= WETTEST_EVER}
    if suspicious:
        await run.log.warning("these days can't be", days=sorted(suspicious))
        if not await run.ask("Keep the outliers?", bool, name="keep_outliers"):
            days = {date: fallen for date, fallen in days.items() if date not in suspicious}
    wettest, millimetres = "", 0.0
    for done, (date, fallen) in enumerate(days.items(), 1):
        if fallen > millimetres:
            wettest, millimetres = date, fallen
        if done % AT_ONCE == 0 or done == len(days):
            await run.progress(done, len(days))
    return Summary(rows=len(days), wettest=wettest, millimetres=millimetres)


def read_days(file: Path, limit: int) -> dict[str, float]:
    """Return the precipitation of each day, in millimetres."""
    with file.open(newline="", encoding="utf-8") as lines:
        try:
            return {row["date"]: float(row["precipitation"]) for row in islice(csv.DictReader(lines), limit)}
        except (KeyError, ValueError) as error:
            raise Problem("invalid_argument", f"{file.name} is no weather file: {error}") from error


@attrs.frozen
class Flight:
    """A route, and how often it was flown."""

    origin: str
    destination: str
    count: int


@attrs.frozen
class Airport:
    """Where flights start."""

    iata: str
    name: str
    city: str


@attrs.frozen
class Rank:
    """An airport's place in the ranking."""

    iata: str
    name: str
    city: str
    departures: int


traffic = Workflow("busiest_airports", version="2", output="ranking", description="Rank airports by departures.", read_only=True)


@traffic.step
def flights(flight_file: Path) -> list[Flight]:
    """Read the routes."""
    with flight_file.open(newline="", encoding="utf-8") as lines:
        return [Flight(row["origin"], row["destination"], int(row["count"])) for row in csv.DictReader(lines)]


@traffic.step
def airports(airport_file: Path) -> dict[str, Airport]:
    """Read the airports; this runs beside `flights`."""
    with airport_file.open(newline="", encoding="utf-8") as lines:
        return {row["iata"]: Airport(row["iata"], row["name"], row["city"]) for row in csv.DictReader(lines)}


@traffic.step
async def ranking(
    flights: list[Flight], airports: dict[str, Airport], top: Annotated[int, msgspec.Meta(ge=1)] = 10
) -> list[Rank]:
    """Count what leaves each airport, and take the busiest."""
    departures: dict[str, int] = {}
    for flight in flights:
        departures[flight.origin] = departures.get(flight.origin, 0) + flight.count
    busiest = sorted(departures, key=lambda iata: (-departures[iata], iata))[:top]
    unknown = Airport(iata="", name="", city="")
    return [
        Rank(iata=iata, name=airports.get(iata, unknown).name, city=airports.get(iata, unknown).city, departures=departures[iata])
        for iata in busiest
    ]


app.register(traffic)


def main() -> None:
    """Print the summary of the file named on the command line."""
    with nexus.sync(app) as desk:
        summary = desk.execute_workflow(process_data, {"file": sys.argv[1]}).results
    print(f"{summary.rows:,} days; the wettest was {summary.wettest} with {summary.millimetres} mm")


if __name__ == "__main__":
    main()
