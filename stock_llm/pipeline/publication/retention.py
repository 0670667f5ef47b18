"""Which versions stay where they are published, and which are taken away."""

from stock_llm.ollama.distribution.pull_log import FILE as PULLS
from stock_llm.ollama.distribution.pull_log import PullLog
from stock_llm.ollama.handover import forget_name, known_names
from stock_llm.ollama.model_name import LATEST, version_name, version_number
from stock_llm.pipeline import registry
from stock_llm.pipeline.publication.consumers import versions_held
from stock_llm.pipeline.publication.places import Places, versions_of
from stock_llm.settings import Settings


def prune(settings: Settings, places: Places) -> list[str]:
    """Take away versions beyond `publish.keep` everywhere; what was done, a sentence each.

    The champion, the one before it, and what a consumer has stay; all stay where it is not known
    what consumers have. Servers come first, so that what
    a kill leaves is found in the folder by the next time.
    """
    if (pulls := PullLog(settings.path(PULLS))).is_damaged():
        return [
            f"no version was removed: {pulls.file} is damaged, so it is not known what consumers "
            "have. Delete the file and run again: stock-llm publish"
        ]
    store, champion = places.folder.store, registry.champion(settings)
    newest = versions_of(store)[-settings.publish.keep :]
    numbers = (champion.number, champion.replaced) if champion else ()
    kept = {*newest, *(version_name(number) for number in numbers if number)}
    held = versions_held(settings)
    kept |= {name for name in versions_of(store) if store.digest(name) in held}
    if champion is None:  # `:latest` may be any of them
        latest = store.digest(LATEST)
        kept |= {name for name in versions_of(store) if store.digest(name) == latest}
    done = []
    for target in places.servers:
        known = known_names(store, target.where)
        doomed = [name for name in known if version_number(name) and name not in kept]
        with places.passing_over(target.where):
            for name in doomed:
                if target.digest(name) == known[name]:
                    target.server.delete(name)
                forget_name(store, target.where, name)
            done += [f"{', '.join(doomed)} removed from {target.where}"] if doomed else []
    before, doomed = store.size(), [name for name in versions_of(store) if name not in kept]
    for name in doomed:
        store.delete(name)
    if doomed:
        store.collect_garbage()
        sizes = f"{store.size() / 1e6:,.1f} MB of {before / 1e6:,.1f} MB are left"
        done.append(f"{', '.join(doomed)} removed from {places.folder.where}: {sizes}")
    return done
