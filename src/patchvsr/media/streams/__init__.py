"""The streams beside the video: audio, subtitles, attachments, cover art, chapters and tags."""
