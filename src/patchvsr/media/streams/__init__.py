"""Copy all streams other than the video: audio, subtitles, attachments, cover art, chapters and tags."""
